"""X906 base-rate-from-epoch-0: a base of the learning rate that a resumed run never sets."""

from __future__ import annotations

from tests.lint.sources import judged

ONLY_IN_EPOCH_0 = {
    "the trainer": """
        for epoch in range(start_epoch, args.train_epochs):
            if epoch == 0:
                args.learning_rate = model_optim.param_groups[0]["lr"]  # <- X906
            adjust_learning_rate(model_optim, epoch + 1, args)
        """,
    "not epoch": """
        for epoch in range(resume_epoch, epochs):
            if not epoch:
                base_lr = scheduler.get_last_lr()[0]  # <- X906
            rate = base_lr * 0.5 ** epoch
        """,
    "with a condition": """
        for epoch in range(start, epochs):
            if args.lradj == "type1" and epoch == 0:
                args.lr = optimizer.param_groups[0]["lr"]  # <- X906
        ckpt = torch.load(args.resume)
        """,
    "no resume yet": """
        for epoch in range(epochs):
            if epoch == 0:
                args.learning_rate = optimizer.param_groups[0]["lr"]  # <- X906 info
        """,
}


IN_EVERY_RUN = {
    "before the loop": """
        args.learning_rate = optimizer.param_groups[0]["initial_lr"]
        for epoch in range(start_epoch, epochs):
            adjust_learning_rate(optimizer, epoch + 1, args)
        """,
    "also after a resume": """
        if args.resume_from_checkpoint:
            args.learning_rate = ckpt["base_lr"]
        for epoch in range(start_epoch, epochs):
            if epoch == 0:
                args.learning_rate = optimizer.param_groups[0]["lr"]
        """,
    "a commented line": """
        for epoch in range(start_epoch, epochs):
            if epoch == 0:
                # args.learning_rate = optimizer.param_groups[0]["lr"]
                print(optimizer.param_groups[0]["lr"])
        """,
    "something else in epoch 0": """
        for epoch in range(start_epoch, epochs):
            if epoch == 0:
                first_loss = loss.item()
        """,
    "the first epoch after the start, whichever it is": """
        for epoch in range(start_epoch, epochs):
            if epoch == start_epoch:
                args.learning_rate = optimizer.param_groups[0]["lr"]
        """,
    "the other epochs as well": """
        for epoch in range(start_epoch, epochs):
            if epoch == 0:
                rate = optimizer.param_groups[0]["lr"]
            else:
                rate = optimizer.param_groups[0]["initial_lr"]
        """,
}


test_a_base_rate_that_a_resume_never_sets_is_reported = judged(ONLY_IN_EPOCH_0)
test_a_base_rate_that_every_run_sets_is_not_reported = judged(IN_EVERY_RUN)
