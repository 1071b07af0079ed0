"""Spillway: everything between a program and remote models."""
