"""The kernel that stays on the device for all steps of a time loop."""
