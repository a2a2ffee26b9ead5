"""Masks personal data before an event leaves the house: addresses, numbers, accounts, names."""

import re
from typing import Any

from waybill import Draft, Event, config, counters, log

# Each pattern has one way to fit a text, so the time for a text grows with its length only.
EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@((?:[\w-]{1,63}\.){1,9}[A-Za-z]{2,24})\b")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
#: A telephone number begins with `+` or `0` and has its digits in groups. Dates, amounts and the
#: numbers of documents do not look like that.
PHONE = re.compile(r"(?<![\w.-])(?:\+|00?)\d[\d /().-]{5,18}\d(?![\w.-])")
MASK = "***"


class Masker:
    """Masks the values of one event and counts what it masked."""

    def __init__(self, fields: list[str], keep_domain: bool) -> None:
        self.fields = {field.lower() for field in fields}
        self.keep_domain = keep_domain
        self.masked = {"email": 0, "iban": 0, "phone": 0, "field": 0}

    def mask(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.mask_member(key, one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.mask(one) for one in value]
        return self.mask_text(value) if isinstance(value, str) else value

    def mask_member(self, key: str, value: Any) -> Any:
        is_value = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        if key.lower() in self.fields and is_value and value != "":
            self.masked["field"] += 1
            return MASK
        return self.mask(value)

    def mask_text(self, text: str) -> str:
        text = EMAIL.sub(self.mask_email, text)
        text = IBAN.sub(self.mask_iban, text)
        return PHONE.sub(self.mask_phone, text)

    def mask_email(self, found: re.Match[str]) -> str:
        self.masked["email"] += 1
        return f"{MASK}@{found[1]}" if self.keep_domain else MASK

    def mask_iban(self, found: re.Match[str]) -> str:
        account = found[0].replace(" ", "")
        if not is_iban(account):
            return found[0]
        self.masked["iban"] += 1
        return f"{account[:2]}{MASK}{account[-4:]}"

    def mask_phone(self, found: re.Match[str]) -> str:
        digits = re.sub(r"\D", "", found[0])
        is_date = re.fullmatch(r"0?\d{1,2}[./-]\d{1,2}[./-]\d{2,4}", found[0])
        if is_date or not 7 <= len(digits) <= 15:
            return found[0]
        self.masked["phone"] += 1
        return f"{MASK}{digits[-2:]}"


def is_iban(account: str) -> bool:
    """Returns whether the check digits fit (ISO 13616)."""
    if not 15 <= len(account) <= 34:
        return False
    turned = account[4:] + account[:4]
    return int("".join(str(int(one, 36)) for one in turned)) % 97 == 1


def transform(event: Event) -> list[Draft]:
    settings = config.all()
    masker = Masker(settings.get("fields", []), settings.get("keep_domain", False))
    masked = masker.mask(event.data())
    total = sum(masker.masked.values())
    counters.add("masked", total)
    log.info(f"masked {total} values", **{key: n for key, n in masker.masked.items() if n})
    return [Draft(masked)]
