"""Asset checks: what decides whether the next asset may be made."""
