"""Servers on 127.0.0.1, started for a step and stopped after it: a teacher's, and the Hub."""
