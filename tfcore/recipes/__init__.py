"""Recipes: whole runs that have a name, and what makes a `run.Task` of one."""

from tfcore.recipes.assemble import load_data, on_this_processor, task, train
from tfcore.recipes.doctor import examine
from tfcore.recipes.finished import load_run, predictor, replay
from tfcore.recipes.named import RECIPES
from tfcore.recipes.recipe import Recipe, from_dict, plan, to_dict

__all__ = ["RECIPES", "Recipe", "examine", "from_dict", "load_data", "load_run"]
__all__ += ["on_this_processor", "plan", "predictor", "replay", "task", "to_dict", "train"]
