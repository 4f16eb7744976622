"""Groups: what has been joined, directly or through others (union-find; Tarjan 1975)."""

from __future__ import annotations

from collections import defaultdict


class Groups:
    """Numbers 0..n-1, each alone at first."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def _root(self, member: int) -> int:
        parent = self._parent
        while parent[member] != member:
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self._root(one), self._root(other)))
        self._parent[high] = low

    def joined(self, one: int, other: int) -> bool:
        return self._root(one) == self._root(other)

    def together(self) -> list[list[int]]:
        """The groups of two and more, each in ascending order, by their first members."""
        members: defaultdict[int, list[int]] = defaultdict(list)
        for member in range(len(self._parent)):
            members[self._root(member)].append(member)
        return [group for group in members.values() if len(group) > 1]
