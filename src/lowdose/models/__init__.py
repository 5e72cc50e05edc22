"""Networks in their papers' words; `catalog` names them."""
