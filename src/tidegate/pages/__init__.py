"""The page of each task, and what all of them share; `report` picks one and writes it."""
