"""The real engine and the real tables, with simulated processes and a simulated clock."""
