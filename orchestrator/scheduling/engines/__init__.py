"""Engines that run attempts: Ray, or plain processes."""
