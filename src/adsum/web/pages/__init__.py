"""The pages, a module each: how it is made of the registry, and the topic that keeps it current."""
