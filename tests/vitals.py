"""What the system says of a process of ours: memory, open files, threads."""

from pathlib import Path


class Vitals:
    """One process, looked at from outside. Sizes are bytes."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    @property
    def resident(self) -> int:
        """Memory it holds now."""
        return self._size("VmRSS")

    @property
    def peak(self) -> int:
        """The most memory it held since it began, or since `forget_peak`."""
        return self._size("VmHWM")

    def forget_peak(self) -> None:
        """Count the peak from now on."""
        (self._folder / "clear_refs").write_text("5")

    @property
    def files(self) -> int:
        """Open file descriptors, sockets included."""
        return len(list((self._folder / "fd").iterdir()))

    @property
    def threads(self) -> int:
        return len(list((self._folder / "task").iterdir()))

    def _size(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
