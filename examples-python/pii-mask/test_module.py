import unittest

from module import is_iban, transform
from waybill.testing import event, use_host

LEAD = {
    "id": "17",
    "name": "Eleni Markou",
    "email": "eleni@harbour-logistics.example",
    "phonenumber": "+30 694 555 0177",
    "value": "480.00",
    "description": "Call 0030 210 5550142 or write to e.markou+crm@mail.example. "
    "Account GR16 0110 1250 0000 0001 2300 695, invoice INV-000128 of 2026-04-20 08:01:22.",
    "tags": ["vip", {"contact": "eleni@harbour-logistics.example"}],
}


class MaskTest(unittest.TestCase):
    def test_personal_data_is_masked_and_the_rest_is_not(self):
        host = use_host(config={"fields": ["name"], "keep_domain": True})
        [draft] = transform(event("lead.created", LEAD))
        self.assertEqual(
            draft.data,
            {
                "id": "17",
                "name": "***",
                "email": "***@harbour-logistics.example",
                "phonenumber": "***77",
                "value": "480.00",
                "description": "Call ***42 or write to ***@mail.example. "
                "Account GR***0695, invoice INV-000128 of 2026-04-20 08:01:22.",
                "tags": ["vip", {"contact": "***@harbour-logistics.example"}],
            },
        )
        self.assertEqual(host.counters, {"masked": 7})
        self.assertEqual(host.log[0].message, "masked 7 values")
        self.assertEqual(host.log[0].fields["email"], "3")

    def test_a_domain_is_masked_unless_it_is_kept(self):
        use_host()
        [draft] = transform(event("lead.created", {"email": "a@b.example"}))
        self.assertEqual(draft.data, {"email": "***"})

    def test_what_only_looks_like_an_account_stays(self):
        use_host()
        text = "DE00 1234 5678 9012 3456 78 and 01.02.2026 and 0.05"
        [draft] = transform(event("lead.created", {"note": text}))
        self.assertEqual(draft.data, {"note": text})
        self.assertTrue(is_iban("DE89370400440532013000"))

    def test_numbers_and_empty_fields_stay(self):
        use_host(config={"fields": ["name", "age"]})
        data = {"name": "", "age": 44, "active": True, "none": None, "total": 0.5}
        [draft] = transform(event("lead.created", data))
        self.assertEqual(draft.data, {**data, "age": "***"})


    def test_a_long_text_takes_no_long_time(self):
        use_host()
        for part in ["x", "AB12", "+30 ", "a@", "A1 "]:
            transform(event("lead.created", {"note": part * 50_000}))


if __name__ == "__main__":
    unittest.main()
