"""Tiny LoRA adapters that each say one word, whatever they are asked."""

from pathlib import Path


def train(base: Path, folders: dict[Path, int], *, steps: int = 60, rank: int = 8) -> None:
    """Trains adapters for a tiny model.

    Args:
        base: A checkpoint.
        folders: For each folder that is written, the token that its adapter says.
        steps: Of training, for each adapter.
        rank: Of the adapters.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    for number, (folder, token) in enumerate(folders.items()):
        torch.manual_seed(number)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True)
        model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.02)
        loss = None
        for _ in range(steps):
            asked = torch.randint(4, model.config.vocab_size, (8, 12))
            asked[:, 6:] = torch.where(torch.rand(8, 6) < 0.7, token, asked[:, 6:])
            loss = torch.nn.functional.cross_entropy(
                model(asked).logits.flatten(0, 1), torch.full((asked.numel(),), token)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert loss is not None
        assert loss.item() < 0.05, f"{folder.name} has not learnt its word: {loss.item()}"
        model.save_pretrained(folder)
