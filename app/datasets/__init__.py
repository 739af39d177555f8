"""Datasets: create, list, follow, pause, resume, cancel, requeue, delete."""
