"""Greedy decoding on an accelerator: all rows in shared passes, drafts judged and tokens fed back on the device.

A round is: one packed pass over [input | offer] of the rows that have any, the longest confirmed prefix of each offer
found on the device, then steps of `DecodeLanes` for every row that goes on. What was chosen is copied to the host while
the device runs on: the host reads one graph's tokens, and the device has the next graphs already. It reads as
`decoding` does, token by token, so loops, limits and counters are the same; what a lane said beyond that is forgotten.
Rows with pinned tokens or a restricted beginning take the host's passes until they are past them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .decode_lanes import DecodeLanes, RopeTable, best_tokens
from .decoding import DecodeRow, RowInput, count_input, embed_input, run_pass
from .download import Choices
from .graphs import GraphMismatch, Recorder, Replay, bucket, capture
from .network import Network
from .packed_attention import PackedAttention, choose_attention
from .packed_pass import NOTHING, Given, PackedPass, groups, pack
from .recorded_pass import RecordedPasses, pass_states
from .slot_pool import CacheFull, SlotPool
from .upload import upload

logger = logging.getLogger(__name__)

WIDTHS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128)  # rows of a graph
STEPS = 4  # of one graph
LONG_REPLAYS = 8  # graphs in a round where a whole text is to come: after it the rows that ended leave their lanes
AHEAD = 2  # graphs that the device is given beyond what the host has read
SCORED_ROWS = 256  # places scored at a time: 0.4 GB of scores
OFFER_AGAIN = 8  # tokens of the previous hypothesis that are worth a pass of their own


@dataclass(frozen=True, slots=True)
class _Pass:
    """What a packed pass left on the device. Rows `[n]`, scored places `[s]`, all int64 but the log-probabilities."""

    choices: Tensor  # [s]
    logprobs: Tensor  # float32 [s]
    tokens: Tensor  # [n]: the first that is not of the offer
    lengths: Tensor  # [n]: of the slots, accepted tokens included
    tokens_left: Tensor  # [n]


class DeviceDecoder:
    """Decodes rows of one slot pool. `recorder`: makes the graphs; None runs everything plainly (the eager twin)."""

    def __init__(
        self,
        network: Network,
        pool: SlotPool,
        end_ids: frozenset[int],
        *,
        recorder: Recorder | None = None,
        steps: int = STEPS,
        widths: Sequence[int] = WIDTHS,
        attention: PackedAttention | None = None,
    ) -> None:
        self.network = network
        self._pool = pool
        self._end_ids = end_ids
        self._recorder = recorder
        self._steps = steps
        self._widths = widths
        self._attention = attention or choose_attention(pool.keys(0))
        self._rope = RopeTable(network, pool.longest + 1)
        self._ends = torch.tensor(sorted(end_ids), device=network.device)
        self._lanes: dict[tuple[int, int], tuple[DecodeLanes, Replay]] = {}
        self._passes: RecordedPasses | None = None
        if recorder is not None and self._attention.on_device:
            self._passes = RecordedPasses(network, pool, self._rope, self._attention, recorder)
        self._recorded_lanes = 0

    @property
    def graphs(self) -> int:
        """Graphs recorded so far."""
        return self._recorded_lanes + (0 if self._passes is None else self._passes.graphs)

    def warm_up(self) -> None:
        """Record the graphs of every width for slots of common length. Others are recorded when first needed."""
        if self._passes is not None:
            self._passes.warm_up()
        if self._recorder is not None:
            for width in reversed(self._widths):  # the widest first: the others fit into its memory
                self.lanes_for(width, self._pool.slot_tokens)

    def decode(self, rows: Sequence[DecodeRow], inputs: Sequence[RowInput]) -> None:
        """Decode every row to its end token, its limit or a loop; as `decoding.decode` does, with the same results."""
        for row, given in zip(rows, inputs, strict=True):
            count_input(row, given)
        alive = [(row, given) for row, given in zip(rows, inputs, strict=True) if not row.done]
        going = self._past_restrictions([(row, given) for row, given in alive if _restricted(row)])
        passes = [(row, given) for row, given in alive if not (row.done or row.tokens)]
        refused: set[int] = set()  # rows whose second offer was of little use
        while passes or going:
            self._round(passes, going, refused)
            everyone = [row for row in (*(row for row, _ in passes), *going) if not row.done]
            offering = [row for row in everyone if self._offers_again(row, refused)]
            passes = [(row, RowInput(before=(row.tokens[-1],))) for row in offering]
            going = [row for row in everyone if not row.offer]

    def _past_restrictions(self, alive: Sequence[Given]) -> list[DecodeRow]:
        """Host passes until the rows may say anything; returns those that go on."""
        waiting = [(row, embed_input(self.network, given)) for row, given in alive]
        free: list[DecodeRow] = []
        while waiting:
            rows = [row for row, _ in waiting]
            run_pass(self.network, self._pool, rows, [x for _, x in waiting], self._end_ids)
            going = [row for row in rows if not row.done]
            for row in going:
                row.offer = row.offer if _restricted(row) else ()
                row.counters.decoded += 1
                row.counters.offered += len(row.offer)
            free += [row for row in going if not _restricted(row)]
            waiting = [
                (row, embed_input(self.network, RowInput(before=(row.tokens[-1],))))
                for row in going
                if _restricted(row)
            ]
        return free

    def _offers_again(self, row: DecodeRow, refused: set[int]) -> bool:
        """Whether the new tokens have met the previous hypothesis, and enough of it is left; sets the row's offer."""
        rest = row.rest_of_previous() if row.slot not in refused else ()
        row.offer = rest if len(rest) >= OFFER_AGAIN else ()
        row.counters.offered += len(row.offer)
        return bool(row.offer)

    def _round(self, passes: Sequence[Given], going: Sequence[DecodeRow], refused: set[int]) -> None:
        everyone = [*(row for row, _ in passes), *going]
        ahead = self._steps * self._replays(everyone)
        rooms = [self._reserve(row, given.tokens + len(row.offer), ahead) for row, given in passes]
        rooms += [self._reserve(row, 0, ahead) for row in going]
        done = [self._pass(passes[part], rooms[part]) for part in groups(passes)]
        coming = Choices()
        if done:
            read = partial(self._read_passes, passes, refused)
            coming.expect(torch.cat([each.choices for each in done]), torch.cat([each.logprobs for each in done]), read)
        seats = [torch.stack((each.tokens, each.lengths, each.tokens_left)) for each in done]
        if going:
            host = (
                [row.tokens[-1] for row in going],
                [self._pool.length(row.slot) for row in going],
                [
                    min(row.limit - len(row.tokens), room - self._pool.length(row.slot))
                    for row, room in zip(going, rooms[len(passes) :], strict=True)
                ],
            )
            seats.append(torch.stack(upload(host, self.network.device)))
        self._say(everyone, torch.cat(seats, 1), ahead // self._steps, coming)
        coming.read()

    def _replays(self, rows: Sequence[DecodeRow]) -> int:
        """Graphs of a round at most: many where no text is known yet, none where none may come."""
        most = max(row.limit - len(row.tokens) for row in rows)
        if most <= 1 and not any(row.tokens for row in rows):
            return 0  # the pass itself says the only token
        replays = 1 if any(row.previous for row in rows) else LONG_REPLAYS
        return min(replays, -(-most // self._steps))

    def _reserve(self, row: DecodeRow, tokens: int, ahead: int) -> int:
        """Make room for a pass and the steps behind it, or as many as there is room for; returns the length that the
        slot may reach. Raises CacheFull where not even the pass, or one step, fits.
        """
        length = self._pool.length(row.slot)
        most = self.network.config.decoder.max_positions - length
        needed = max(tokens, 1)
        count = max(min(tokens + ahead, most), needed)
        try:
            self._pool.reserve(row.slot, count)
        except CacheFull:
            self._pool.reserve(row.slot, needed)
            count = min(self._pool.capacity(row.slot) - length, most)
        return length + count

    @torch.inference_mode()
    def _pass(self, group: Sequence[Given], rooms: Sequence[int]) -> _Pass:
        """One packed pass over [input | offer] of each row, and what of each offer it confirmed."""
        network = self.network
        packed = pack(group, rooms, self._pool, network.device)
        x = network.model.embed_tokens(packed.ids).to(network.dtype)
        if packed.audio:
            x.index_copy_(0, packed.audio_at, torch.cat(list(packed.audio)).to(x.dtype))
        states = self._states(x, packed).index_select(0, packed.scored_at)
        best = [best_tokens(network, part) for part in states.split(SCORED_ROWS)]
        choices, logprobs = torch.cat([ids for ids, _ in best]), torch.cat([values for _, values in best])
        grid = choices[packed.columns]
        accepted = (grid == packed.offers).long().cumprod(1).sum(1)
        token = grid.gather(1, accepted[:, None])[:, 0]
        lengths = packed.bases + accepted
        left = torch.minimum(packed.limits - accepted - 1, packed.rooms - lengths).clamp(min=0)
        ended = (token[:, None] == self._ends).any(1)
        return _Pass(choices, logprobs, token, lengths, torch.where(ended, 0, left))

    def _states(self, x: Tensor, packed: PackedPass) -> Tensor:
        """Normed states of a packed pass; its keys and values are in the pool."""
        states = None if self._passes is None else self._passes.states(x, packed)
        if states is not None:
            return states
        rope = self._rope.rows(packed.positions)
        return pass_states(self.network, self._pool, self._attention, x, rope, packed.places, packed.rows)

    @torch.inference_mode()
    def _say(self, rows: Sequence[DecodeRow], seats: Tensor, replays: int, coming: Choices) -> None:
        """Steps of the lanes for all rows, until the host has read that they are done or `replays` are over.

        `seats` int64 `[3, rows]`: tokens, lengths, tokens left.
        """
        most = self._widths[-1]
        for first in range(0, len(rows) if replays else 0, most):
            some = rows[first : first + most]
            longest = max(self._pool.capacity(row.slot) for row in some)
            lanes, replay = self.lanes_for(len(some), longest)
            (starts,) = upload([[self._pool.start(row.slot) for row in some]], self.network.device)
            tokens, lengths, left = seats[:, first : first + most]
            lanes.seat(tokens, lengths, starts, left)
            for _ in range(replays):
                replay()
                chosen, logprobs = lanes.chosen[:, : len(some)], lanes.logprobs[:, : len(some)]
                coming.expect(chosen.T.flatten(), logprobs.T.flatten(), partial(self._read_lanes, some))
                coming.read(keep=AHEAD)
                if all(row.done for row in some):
                    coming.forget()
                    break

    def lanes_for(self, rows: int, longest: int) -> tuple[DecodeLanes, Replay]:
        """Lanes for so many rows, none with more than `longest` tokens, and what runs them."""
        width = bucket(rows, self._widths)
        assert width is not None
        size = self._pool.slot_tokens
        while size < longest:
            size *= 4
        key = (width, min(size, self._pool.longest))
        if key not in self._lanes:
            lanes = DecodeLanes(
                self.network, self._pool, self._rope, self._attention, sorted(self._end_ids),
                width=width, longest=key[1], steps=self._steps,
            )  # fmt: skip
            self._lanes[key] = (lanes, self._recorded(lanes))
        return self._lanes[key]

    @torch.inference_mode()
    def _recorded(self, lanes: DecodeLanes) -> Replay:
        """The lanes' graph, checked on slots that nobody uses; their plain run where there is no graph to be had."""
        if self._recorder is None:
            return lanes.run
        starts = self._pool.free_starts()[: lanes.width]
        count = len(starts)
        vocabulary = self.network.config.decoder.vocab_size
        tokens = [index * 7919 % vocabulary for index in range(count)]
        lanes.seat(*upload([tokens, [0] * count, starts, [self._steps] * count], self.network.device))
        try:
            replay = capture(lanes, self._recorder)
        except GraphMismatch:
            logger.exception("the decode graph of %d rows is not used", lanes.width)
            return lanes.run
        self._recorded_lanes += 1
        return replay

    def _read_passes(self, passes: Sequence[Given], refused: set[int], ids: list[int], logprobs: list[float]) -> None:
        """The rows read what their passes chose, as if it had come token by token."""
        at = 0
        for row, given in passes:
            count = len(row.offer) + 1
            self._read_pass(row, given, ids[at : at + count], logprobs[at : at + count], refused)
            at += count
        assert at == len(ids)

    def _read_lanes(self, rows: Sequence[DecodeRow], ids: list[int], logprobs: list[float]) -> None:
        """The rows read what their lanes said in the steps of one graph, `[rows * steps]`."""
        for index, row in enumerate(rows):
            part = slice(index * self._steps, (index + 1) * self._steps)
            for token, logprob in zip(ids[part], logprobs[part], strict=True):
                if row.done or token == NOTHING:
                    break
                self._pool.advance(row.slot, 1)
                row.accept([token], [logprob], self._end_ids)
                row.counters.decoded += 1

    def _read_pass(
        self, row: DecodeRow, given: RowInput, tokens: Sequence[int], logprobs: list[float], refused: set[int]
    ) -> None:
        offer = row.offer
        again = bool(row.tokens)
        known = 0 if again else len(row.previous_logprobs)
        for index, expected in enumerate(offer[:known]):
            if tokens[index] == expected:
                logprobs[index] = row.previous_logprobs[index]
        accepted = row.accept(tokens, logprobs, self._end_ids)
        row.counters.passes += 1
        self._pool.advance(row.slot, given.tokens + min(accepted, len(offer)))
        if again and accepted < self._steps:
            refused.add(row.slot)
        row.offer = ()


def _restricted(row: DecodeRow) -> bool:
    """Whether the row's next token is not simply the model's best."""
    return len(row.tokens) < row.pinned or (row.allowed is not None and row.allowed(row.tokens) is not None)
