"""adsum inside real programs: servers, pools, frozen programs, debuggers, supervisors, other event loops."""
