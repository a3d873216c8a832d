"""The rules of the control law, one module each."""
