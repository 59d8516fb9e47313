"""What code can be generated for; one package a target, none of them knows another."""
