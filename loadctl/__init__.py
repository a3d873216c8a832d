"""loadctl: a local load manager for EV charging on RS-485."""
