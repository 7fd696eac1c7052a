"""TOSCA's intrinsic functions, as far as a descriptor alone answers them; the rest is open until instantiation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from manor.catalog.nodes import Kind, Node, scalar

__all__ = ["Functions"]

_DEPTH = 16


class Functions:
    """Answers ``get_input``, ``get_property``, ``concat`` and ``token`` of one template."""

    def __init__(
        self,
        inputs: Mapping[str, Node],
        properties: Callable[[str, str], Node | None],
        undeclared: Callable[[str, Node], None],
    ) -> None:
        self._inputs = inputs
        self._properties = properties
        self._undeclared = undeclared
        self._depth = 0
        self.outer: Mapping[str, Node] = {}
        """Values that a substituted node passes in, for inputs with none of their own."""

    def __call__(self, node: Node) -> Node:
        """The value of a function call, or the node itself where it is none or has no value yet."""
        (name, argument), *_ = node.fields.items()
        function = {
            "get_input": self._get_input,
            "get_property": self._get_property,
            "concat": self._concat,
            "token": self._token,
        }.get(name)
        if function is None or self._depth >= _DEPTH:
            return node
        self._depth += 1
        try:
            found = function(argument)
        finally:
            self._depth -= 1
        node.asked.add(name)
        return found if found is not None else node

    def _get_input(self, argument: Node) -> Node | None:
        names = [argument] if argument.kind is Kind.SCALAR else argument.items
        if not names or names[0].kind is not Kind.SCALAR:
            return None
        found = self._inputs.get(names[0].text)
        if found is None and names[0].text not in self.outer:
            self._undeclared(names[0].text, argument)
        if found is None or found.is_null:
            found = self.outer.get(names[0].text)
        return self._settled(self._walk(found, names[1:]))

    def _get_property(self, argument: Node) -> Node | None:
        parts = [item for item in argument.items if item.kind is Kind.SCALAR]
        if len(parts) < 2 or len(parts) != len(argument.items):
            return None
        found = self._properties(parts[0].text, parts[1].text)
        return self._settled(self._walk(found, parts[2:]))

    def _walk(self, node: Node | None, steps: list[Node]) -> Node | None:
        for step in steps:
            if node is None or step.kind is not Kind.SCALAR:
                return None
            if node.kind is Kind.MAP:
                node = node.fields.get(step.text)
            elif node.kind is Kind.LIST and step.text.isdecimal() and int(step.text[:6]) < len(node.items):
                node = node.items[int(step.text[:6])]
            else:
                return None
        return node

    def _concat(self, argument: Node) -> Node | None:
        parts = [self._settled(item) for item in argument.items]
        if not parts or any(part is None or part.kind is not Kind.SCALAR for part in parts):
            return None
        return scalar("".join(part.text for part in parts if part is not None)[:4096], argument)

    def _token(self, argument: Node) -> Node | None:
        if len(argument.items) != 3:
            return None
        parts = [self._settled(item) for item in argument.items]
        texts = [part.text for part in parts if part is not None and part.kind is Kind.SCALAR]
        if len(texts) != 3 or not texts[1] or not texts[2].isdecimal():
            return None
        pieces = texts[0].split(texts[1])
        index = int(texts[2][:6])
        return scalar(pieces[index], argument) if index < len(pieces) else None

    def _settled(self, node: Node | None) -> Node | None:
        """The value of a node that may itself be a function call; None where it is still open."""
        if node is None or node.is_null:
            return None
        if (
            node.kind is Kind.MAP
            and len(node.fields) == 1
            and next(iter(node.fields))
            in (
                "get_input",
                "get_property",
                "concat",
                "token",
            )
        ):
            found = self(node)
            return None if found is node else found
        return node
