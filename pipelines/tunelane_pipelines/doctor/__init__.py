"""What can be checked on this machine, and what to do about what is wrong."""
