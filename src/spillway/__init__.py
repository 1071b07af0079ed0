"""Spillway."""
