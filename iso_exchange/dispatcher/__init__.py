"""The dispatcher: instructs suppliers after each run, and keeps the timers of what they owe."""
