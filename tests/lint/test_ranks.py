"""X907 every-rank-saves."""

from __future__ import annotations

from tests.lint.sources import judged

BY_EVERY_RANK = {
    "DistributedDataParallel": """
        import torch
        from torch.nn.parallel import DistributedDataParallel as DDP
        model = DDP(model)
        for epoch in range(epochs):
            train(model)
            torch.save({"model": model.module.state_dict(), "epoch": epoch}, f"checkpoint_{epoch}.pt")  # <- X907
        """,
    "a worker that is spawned": """
        import torch
        import torch.distributed as dist
        import torch.multiprocessing as mp
        def work(rank, size):
            dist.init_process_group("nccl", rank=rank, world_size=size)
            loss = validate(model, rank)
            if loss < best:
                torch.save(model.state_dict(), f"best_{args.name}.pt")  # <- X907
        mp.spawn(work, nprocs=4)
        """,
    "Accelerate": """
        import torch
        from accelerate import Accelerator
        accelerator = Accelerator()
        for epoch in range(epochs):
            accelerator.backward(loss)
            state = {"model": accelerator.unwrap_model(model).state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, f"{args.out}/epoch_{epoch}.pt")  # <- X907
        """,
    "torchrun's variables, and a helper": """
        import os, torch
        local_rank = int(os.environ["LOCAL_RANK"])
        def save(epoch):
            torch.save({"model": m, "optimizer": o, "epoch": epoch}, f"checkpoint_{epoch}.pt")  # <- X907
        for epoch in range(epochs):
            train(model, local_rank)
            if epoch % args.save_every == 0:
                save(epoch)
        """,
    "the rank tested at one of two calls": """
        import torch
        import torch.distributed as dist
        dist.init_process_group("nccl")
        def save(name):
            torch.save({"model": m, "optimizer": o}, name + ".pt")  # <- X907
        for epoch in range(epochs):
            if dist.get_rank() == 0:
                save(f"last_{epoch}")
            if better:
                save(f"best_{epoch}")
        """,
    "only the distributed branch": """
        import torch
        if args.distributed:
            torch.distributed.init_process_group("nccl")
        for epoch in range(epochs):
            if args.distributed:
                torch.save({"state_dict": model.module.state_dict()}, f"c_{epoch}.pt")  # <- X907
            else:
                torch.save({"state_dict": model.state_dict()}, f"c_{epoch}.pt")
        """,
    "a trainer class": """
        import torch
        from torch.nn.parallel import DistributedDataParallel
        class Trainer:
            def __init__(self, model, path):
                self.model, self.path = DistributedDataParallel(model), path
            def save(self, epoch):
                torch.save({"model": self.model.module.state_dict()}, f"{self.path}/{epoch}.pt")  # <- X907
            def train(self):
                for epoch in range(9):
                    self.save(epoch)
        Trainer(net, "out").train()
        """,
}

BY_ONE_RANK = {
    "pytorch/examples imagenet": """
        import torch, shutil
        import torch.distributed as dist
        import torch.multiprocessing as mp
        def main():
            mp.spawn(main_worker, nprocs=4, args=(4, args))
        def main_worker(gpu, ngpus_per_node, args):
            dist.init_process_group(backend=args.dist_backend, rank=args.rank)
            for epoch in range(args.start_epoch, args.epochs):
                if args.distributed:
                    train_sampler.set_epoch(epoch)
                acc1 = validate(val_loader, model, criterion, args)
                is_best = acc1 > best_acc1
                scheduler.step()
                if not args.multiprocessing_distributed or (args.multiprocessing_distributed
                        and args.rank % ngpus_per_node == 0):
                    save_checkpoint({
                        "epoch": epoch + 1, "state_dict": model.state_dict(), "optimizer": optimizer.state_dict(),
                        "scheduler": scheduler.state_dict()}, is_best, f"c_{epoch}.pt")
        def save_checkpoint(state, is_best, filename):
            torch.save(state, filename)
            if is_best:
                shutil.copyfile(filename, "model_best.pth.tar")
        main()
        """,
    "torchvision references": """
        import os, torch, utils
        utils.init_distributed_mode(args)
        model = torch.nn.parallel.DistributedDataParallel(model, device_ids=[args.gpu])
        for epoch in range(args.start_epoch, args.epochs):
            train_one_epoch(model)
            lr_scheduler.step()
            if args.output_dir:
                checkpoint = {"model": m, "optimizer": o, "lr_scheduler": lr_scheduler.state_dict(), "epoch": epoch}
                utils.save_on_master(checkpoint, os.path.join(args.output_dir, f"model_{epoch}.pth"))
        ### utils.py
        import torch
        import torch.distributed as dist
        def is_dist_avail_and_initialized():
            return dist.is_available() and dist.is_initialized()
        def get_rank():
            return dist.get_rank() if is_dist_avail_and_initialized() else 0
        def is_main_process():
            return get_rank() == 0
        def save_on_master(*args, **kwargs):
            if is_main_process():
                torch.save(*args, **kwargs)
        def init_distributed_mode(args):
            dist.init_process_group(backend="nccl")
        """,
    "timm: a saver that other ranks do not have": """
        import torch
        from timm import utils
        from torch.nn.parallel import DistributedDataParallel as NativeDDP
        class Saver:
            def save_checkpoint(self, epoch):
                torch.save({"state_dict": m, "optimizer": o, "epoch": epoch}, f"checkpoint-{epoch}.pth.tar")
        def main():
            device = utils.init_distributed_device(args)
            model = NativeDDP(model)
            saver = None
            if utils.is_primary(args):
                saver = Saver()
            for epoch in range(start_epoch, num_epochs):
                train_one_epoch(epoch, model)
                if saver is not None:
                    saver.save_checkpoint(epoch)
        main()
        """,
    "timm: a folder that other ranks do not have": """
        import torch
        from torch.nn.parallel import DistributedDataParallel as NativeDDP
        model = NativeDDP(model)
        output_dir = None
        if utils.is_primary(args):
            output_dir = utils.get_outdir(args.output)
        for epoch in range(9):
            if output_dir is not None:
                torch.save({"state_dict": m, "optimizer": o}, f"{output_dir}/{epoch}.pt")
        """,
    "nanoGPT": """
        import os, torch
        from torch.distributed import init_process_group
        from torch.nn.parallel import DistributedDataParallel as DDP
        ddp = int(os.environ.get("RANK", -1)) != -1
        if ddp:
            init_process_group(backend="nccl")
            ddp_rank = int(os.environ["RANK"])
            master_process = ddp_rank == 0
        else:
            master_process = True
        while True:
            if iter_num % eval_interval == 0 and master_process:
                if losses["val"] < best_val_loss or always_save_checkpoint:
                    checkpoint = {"model": m, "optimizer": optimizer.state_dict(), "iter_num": iter_num}
                    torch.save(checkpoint, os.path.join(out_dir, f"ckpt_{iter_num}.pt"))
            optimizer.step()
            iter_num += 1
        """,
    "accelerate's examples": """
        from accelerate import Accelerator
        import torch
        accelerator = Accelerator()
        for epoch in range(epochs):
            accelerator.backward(loss)
            accelerator.save_state(f"epoch_{epoch}")
            accelerator.save({"model": accelerator.unwrap_model(model).state_dict()}, f"model_{epoch}.pt")
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                torch.save({"model": m, "optimizer": o}, f"c_{epoch}.pt")
        """,
    "accelerate's decorator": """
        from accelerate import Accelerator
        import torch
        accelerator = Accelerator()
        @accelerator.on_main_process
        def save(epoch):
            torch.save({"model": m, "optimizer": o}, f"c_{epoch}.pt")
        for epoch in range(epochs):
            save(epoch)
        """,
    "the other ranks return": """
        import torch
        import torch.distributed as dist
        dist.init_process_group("nccl")
        def save(epoch):
            if args.rank != 0:
                return
            torch.save({"model": m, "optimizer": o}, f"c_{epoch}.pt")
        for epoch in range(epochs):
            save(epoch)
        """,
    "the callers of the callers": """
        import torch
        import torch.distributed as dist
        class Trainer:
            def __init__(self, rank):
                dist.init_process_group("nccl")
                self.rank = rank
            @property
            def saves(self):
                return self.rank == 0
            def write(self, state, epoch):
                torch.save(state, f"c_{epoch}.pt")
            def save(self, epoch):
                self.write({"model": m, "optimizer": o}, epoch)
            def train(self):
                for epoch in range(9):
                    if self.saves and epoch % 5 == 0:
                        self.save(epoch)
        Trainer(0).train()
        """,
    "a file for each rank": """
        import torch
        import torch.distributed as dist
        dist.init_process_group("nccl")
        rank = dist.get_rank()
        for epoch in range(epochs):
            torch.save({"model": m, "optimizer": o}, f"c_{epoch}_rank{rank}.pt")
            torch.save({"model": m, "optimizer": o}, f"c_{epoch}_{dist.get_rank()}.pt")
            where = f"shard_{rank}"
            torch.save({"model": m, "optimizer": o}, where + "/c.pt" + str(epoch))
        """,
    "FSDP and distributed checkpoints": """
        import torch
        import torch.distributed.checkpoint as dcp
        from torch.distributed.fsdp import FullyShardedDataParallel as FSDP
        model = FSDP(model)
        for epoch in range(epochs):
            dcp.save({"model": model.state_dict(), "optimizer": o}, checkpoint_id=f"c_{epoch}")
            state = model.state_dict()
            if torch.distributed.get_rank() == 0:
                torch.save({"model": state}, f"c_{epoch}.pt")
        """,
    "one process": """
        import torch
        model = torch.nn.DataParallel(model)
        for epoch in range(epochs):
            torch.save({"model": model.module.state_dict(), "optimizer": o}, f"c_{epoch}.pt")
        """,
    "only where it is one process": """
        import torch
        import torch.distributed as dist
        if args.distributed:
            dist.init_process_group("nccl")
        for epoch in range(epochs):
            if not args.distributed:
                torch.save({"model": m, "optimizer": o}, f"c_{epoch}.pt")
            elif dist.get_rank() == 0:
                torch.save({"model": m, "optimizer": o}, f"d_{epoch}.pt")
            if world_size == 1:
                torch.save({"model": m, "optimizer": o}, f"e_{epoch}.pt")
        """,
    "a helper whose callers are not in sight": """
        import torch
        import torch.distributed as dist
        def setup():
            dist.init_process_group("nccl")
        def save_checkpoint():
            torch.save({"model": m, "optimizer": o}, "c.pt")
        """,
    "a path that is not known": """
        import torch
        import torch.distributed as dist
        def train(path, rank):
            dist.init_process_group("nccl")
            torch.save({"model": m, "optimizer": o}, path)
        """,
    "into memory": """
        import io, torch
        import torch.distributed as dist
        dist.init_process_group("nccl")
        for epoch in range(9):
            buffer = io.BytesIO()
            torch.save({"model": m, "optimizer": o}, buffer)
        """,
    "results, not checkpoints": """
        import torch
        import torch.distributed as dist
        dist.init_process_group("nccl")
        torch.save(predictions, "predictions.pt")
        """,
}


test_a_checkpoint_that_every_process_writes_is_reported = judged(BY_EVERY_RANK)
test_a_checkpoint_that_one_process_writes_is_not_reported = judged(BY_ONE_RANK)
