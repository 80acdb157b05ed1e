"""Lessons and exercises: finding them, running a student's file in a process of its own, and judging it.

Read in this order: lessons, student (the file's process), process (the same from the judge's side), keeper (that ends what
the file starts), properties (what should hold, and the verdicts), own_files (of the grader, verified), check. Then, for a
class: weights, judges, grade; and the book: pages, house, book.
"""
