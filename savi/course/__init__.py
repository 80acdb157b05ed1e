"""Lessons and exercises: finding them, running a student's file in a process of its own, and judging it.

Read in this order: lessons, student (the file's process), properties (what should hold, and the verdicts), check.
"""
