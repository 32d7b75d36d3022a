"""Completion of broken bones in CT, and the registration before it."""
