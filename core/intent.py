"""The wish to trade: as a client asks for it (`IntentRequest`) and as it was accepted (`Intent`), both immutable.

`validate` refuses what cannot be meant, before anything is looked up, reserved or written. `payload` names the fields
that make two requests *the same wish* for idempotency: what would be traded, not who asked, why or when.
"""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from core import ids, money
from core.errors import InvalidInput
from core.ids import IdempotencyKey, IntentId, PayloadHash


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class Kind(StrEnum):
    LIMIT = "limit"
    MARKET = "market"


class TimeInForce(StrEnum):
    IOC = "IOC"
    """Immediate or cancel: what does not fill at once is canceled; the rest is tried again (R5)."""
    GTC = "GTC"
    """Good till canceled: rests in the book."""
    FOK = "FOK"
    """Fill or kill: all at once or nothing; a kill is final."""
    PO = "PO"
    """Post only: rests as maker or is rejected."""


RESTING: Final = frozenset({TimeInForce.GTC, TimeInForce.PO})


class MarketSnapshot(msgspec.Struct, frozen=True):
    """The top of the book that an intent was planned against."""

    bid: Decimal
    """Best bid, quote per base."""
    ask: Decimal
    """Best ask, quote per base."""
    observed_ns: int
    """When the gateway received it, ns UTC."""


class IntentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for. Exactly one of `qty` and `quote_budget`."""

    symbol: str
    """`BASE/QUOTE`, upper case, e.g. `BTC/USDT`."""
    side: Side
    kind: Kind
    qty: Decimal | None = None
    """Base currency."""
    quote_budget: Decimal | None = None
    """Quote currency; a buy never spends more than this, fees included."""
    limit_price: Decimal | None = None
    """Quote per base; required for a limit, refused for a market intent."""
    tif: TimeInForce = TimeInForce.IOC
    max_slippage_bps: Decimal | None = None
    """Basis points from the reference price; the tighter of this and `router.slippage_bps` holds."""
    reduce_only: bool = False
    """Only sells of at most the position."""
    key: str | None = None
    """Idempotency key of the caller."""
    signal_id: str | None = None
    """Used as the key when there is no `key`."""
    decision_id: str | None = None
    reason: str = ""
    """Free text for the audit trail."""
    source: str = ""
    """Who asks: strategy name, `intentctl`, …"""


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted wish (I1): the request's fields, plus identity, time and the market it was planned against."""

    intent_id: IntentId
    idempotency_key: IdempotencyKey
    symbol: str
    side: Side
    kind: Kind
    tif: TimeInForce
    created_ns: int
    """ns UTC."""
    market_snapshot: MarketSnapshot
    decision_id: str | None = None
    qty: Decimal | None = None
    quote_budget: Decimal | None = None
    limit_price: Decimal | None = None
    max_slippage_bps: Decimal | None = None
    reduce_only: bool = False
    reason: str = ""
    source: str = ""


SYMBOL_PATTERN: Final = re.compile(r"[A-Z0-9]{1,20}/[A-Z0-9]{1,20}")
TEXT_LENGTH_MAX: Final = 500
KEY_PATTERN: Final = re.compile(r"[\x21-\x7e]{1,128}")
RESERVED_KEY_PREFIX: Final = "auto:"
AMOUNT_MAX: Final = Decimal("1e18")
AMOUNT_DECIMALS_MAX: Final = 18
SLIPPAGE_BPS_MAX: Final = Decimal(5_000)
FIELD_TYPES: Final[dict[str, tuple[type, bool]]] = {
    "symbol": (str, False),
    "side": (Side, False),
    "kind": (Kind, False),
    "qty": (Decimal, True),
    "quote_budget": (Decimal, True),
    "limit_price": (Decimal, True),
    "tif": (TimeInForce, False),
    "max_slippage_bps": (Decimal, True),
    "reduce_only": (bool, False),
    "key": (str, True),
    "signal_id": (str, True),
    "decision_id": (str, True),
    "reason": (str, False),
    "source": (str, False),
}
"""Field → its type, and whether it may be None."""


def validate(request: IntentRequest) -> None:
    """Raise `InvalidInput` for the first field that cannot be meant."""
    _validate_types(request)
    if not SYMBOL_PATTERN.fullmatch(request.symbol):
        raise InvalidInput("symbol", request.symbol, "must be BASE/QUOTE in upper case", "write it like BTC/USDT")
    _validate_size(request)
    _validate_price(request)
    _validate_texts(request)


def _validate_types(request: IntentRequest) -> None:
    """A struct that is made in Python is not checked by msgspec: the text "buy" must not pass for a side."""
    for field, (kind, optional) in FIELD_TYPES.items():
        value = getattr(request, field)
        if not (isinstance(value, kind) or (optional and value is None)):
            raise InvalidInput(field, value, f"must be of type {kind.__name__}", "use the types of core.intent")


def _validate_size(request: IntentRequest) -> None:
    if (request.qty is None) == (request.quote_budget is None):
        both = f"qty {request.qty}, quote_budget {request.quote_budget}"
        raise InvalidInput("size", both, "exactly one of qty and quote_budget is needed", "give --qty or --quote")
    if request.qty is not None:
        validate_amount("qty", request.qty)
    if request.quote_budget is not None:
        validate_amount("quote_budget", request.quote_budget)
    if request.reduce_only and request.side is Side.BUY:
        raise InvalidInput("reduce_only", "buy", "a spot buy never reduces a position", "drop reduce_only or sell")


def _validate_price(request: IntentRequest) -> None:
    if request.kind is Kind.LIMIT:
        if request.limit_price is None:
            raise InvalidInput("limit_price", None, "a limit intent needs its price", "give --limit P or --market")
        validate_amount("limit_price", request.limit_price)
    elif request.limit_price is not None:
        raise InvalidInput(
            "limit_price", request.limit_price, "a market intent has no price", "drop it, or ask for a limit intent"
        )
    elif request.tif is not TimeInForce.IOC:
        raise InvalidInput("tif", str(request.tif), "a market intent is IOC", "drop the tif, or give a limit price")
    slippage = request.max_slippage_bps
    sound = slippage is None or (slippage.is_finite() and decimals(slippage) <= AMOUNT_DECIMALS_MAX)
    if not sound or (slippage is not None and not 0 < slippage <= SLIPPAGE_BPS_MAX):
        raise InvalidInput(
            "max_slippage_bps", str(slippage), f"must be above 0 and at most {SLIPPAGE_BPS_MAX}", "20 is 0.2 %"
        )


def validate_amount(field: str, value: Decimal) -> None:
    """Raise `InvalidInput` unless it can be a quantity or a price: finite, above zero, not absurd."""
    if not value.is_finite():
        raise InvalidInput(field, str(value), "must be a finite number", "give a decimal such as 0.001")
    if value <= 0:
        raise InvalidInput(field, str(value), "must be above zero", "the side says the direction, not the sign")
    if value > AMOUNT_MAX:
        raise InvalidInput(field, str(value), f"must be at most {AMOUNT_MAX:f}", "check the unit")
    if decimals(value) > AMOUNT_DECIMALS_MAX:
        raise InvalidInput(field, str(value), f"has more than {AMOUNT_DECIMALS_MAX} decimals", "round it")


def decimals(value: Decimal) -> int:
    """Digits behind the point of a finite number, without trailing zeros, however many there are."""
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    written = "".join(map(str, digits))
    return max(0, -exponent - (len(written) - len(written.rstrip("0"))))


def _validate_texts(request: IntentRequest) -> None:
    for field in ("key", "signal_id", "decision_id"):
        value: str | None = getattr(request, field)
        if value is not None and not KEY_PATTERN.fullmatch(value):
            raise InvalidInput(
                field, value[:140], "must be 1 to 128 printable ASCII characters, no space", "shorten it"
            )
        if value is not None and field != "decision_id" and value.startswith(RESERVED_KEY_PREFIX):
            raise InvalidInput(field, value, f"{RESERVED_KEY_PREFIX!r} is kept for keys made here", "choose another")
    for field in ("reason", "source"):
        validate_free_text(field, getattr(request, field))


def validate_free_text(field: str, free_text: str) -> None:
    """Text for the audit trail: Unicode, and not too long. Raises `InvalidInput`."""
    if any("\ud800" <= character <= "\udfff" for character in free_text):
        raise InvalidInput(field, ascii(free_text[:40]), "is not Unicode text", "send UTF-8")
    if len(free_text) > TEXT_LENGTH_MAX:
        raise InvalidInput(field, free_text[:40] + "…", f"longer than {TEXT_LENGTH_MAX} characters", "shorten it")


def validate_reason(reason: str) -> None:
    """The same for an operator's reason, which must say something. Raises `InvalidInput`."""
    validate_free_text("reason", reason)
    if not reason.strip():
        raise InvalidInput("reason", reason, "says nothing", "write why; it stands in the audit trail")


def payload(request: IntentRequest) -> PayloadHash:
    """The hash of what would be traded. `0.0010` and `0.001` are the same wish."""

    def plain(value: Decimal | None) -> str:
        return "" if value is None else money.text(value)

    return ids.payload_hash(
        (
            request.symbol,
            request.side,
            request.kind,
            plain(request.qty),
            plain(request.quote_budget),
            plain(request.limit_price),
            request.tif,
            plain(request.max_slippage_bps),
            str(request.reduce_only),
        )
    )


def idempotency_key(request: IntentRequest, content: PayloadHash, created_ns: int) -> IdempotencyKey:
    """I3: the caller's key, else the signal's id, else the content within a 60 s bucket."""
    given = request.key or request.signal_id
    return IdempotencyKey(given) if given else ids.content_key(content, created_ns)
