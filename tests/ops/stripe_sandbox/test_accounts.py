import pytest
import stripe

HOUR_S = 3600


async def _open(client, **changes):
    params = {"type": "express", "capabilities": {"transfers": {"requested": True}}, **changes}
    return await client.v1.accounts.create_async(params=params)


async def test_new_account_can_do_nothing_yet(sandbox, client):
    account = await _open(client, email="seller@example.com", metadata={"seller_id": "s-1"}, country="DE")

    assert account.id.startswith("acct_")
    assert (account.type, account.country, account.default_currency) == ("express", "DE", "eur")
    assert (account.charges_enabled, account.payouts_enabled, account.details_submitted) == (False, False, False)
    assert account.capabilities.to_dict() == {"transfers": "inactive"}
    assert account.requirements.currently_due
    assert account.metadata["seller_id"] == "s-1"


async def test_controller_decides_who_answers_for_losses(sandbox, client):
    covered = await client.v1.accounts.create_async(
        params={
            "controller": {
                "fees": {"payer": "application"},
                "losses": {"payments": "application"},
                "requirement_collection": "stripe",
                "stripe_dashboard": {"type": "express"},
            }
        }
    )
    full = await client.v1.accounts.create_async()

    assert (covered.type, covered.controller.losses.payments) == ("none", "application")
    assert (full.controller.stripe_dashboard.type, full.controller.losses.payments) == ("full", "stripe")


async def test_onboarding_is_completed_by_a_control_call(sandbox, client, receiver, wait_until):
    account = await _open(client)

    status, body = await sandbox.call("POST", f"/_sandbox/accounts/{account.id}", json={"payouts_enabled": True})

    assert status == 200
    assert (body["payouts_enabled"], body["charges_enabled"], body["details_submitted"]) == (True, True, True)
    assert body["capabilities"] == {"transfers": "active"}
    assert body["requirements"]["currently_due"] == []
    assert [bank["object"] for bank in body["external_accounts"]["data"]] == ["bank_account"]

    def told_of_account():
        # An event of the test before may still have been under way.
        return [event for event in receiver.events("account.updated") if event["account"] == account.id]

    told = await wait_until(lambda: len(got := told_of_account()) == 2 and got)
    (completed,) = [event for event in told if event["data"]["object"]["payouts_enabled"]]
    assert completed["data"]["previous_attributes"]["payouts_enabled"] is False


async def test_abilities_can_be_taken_away(sandbox, client, seller):
    account = await seller()
    path = f"/_sandbox/accounts/{account.id}"

    await sandbox.call("POST", path, json={"payouts_enabled": False})

    restricted = await client.v1.accounts.retrieve_async(account.id)
    assert (restricted.payouts_enabled, restricted.capabilities.transfers) == (False, "active")
    assert restricted.requirements.disabled_reason
    await sandbox.call("POST", path, json={"transfers": "inactive"})
    assert (await client.v1.accounts.retrieve_async(account.id)).capabilities.transfers == "inactive"


async def test_link_leads_through_onboarding_back_to_the_marketplace(sandbox, client):
    account = await _open(client)
    link = await client.v1.account_links.create_async(
        params={
            "account": account.id,
            "type": "account_onboarding",
            "refresh_url": "https://shop.example/again",
            "return_url": "https://shop.example/back",
        }
    )
    assert (link.object, link.expires_at - link.created) == ("account_link", 300)

    async with sandbox.http.get(link.url, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "https://shop.example/back")

    assert (await client.v1.accounts.retrieve_async(account.id)).payouts_enabled is True
    await sandbox.set_clock(HOUR_S)
    async with sandbox.http.get(link.url, allow_redirects=False) as answer:
        assert answer.status == 410


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"account": None}, "parameter_missing", "account"),
        ({"account": "acct_absent"}, "resource_missing", "account"),
        ({"type": "nonsense"}, None, "type"),
        ({"refresh_url": None}, "parameter_missing", "refresh_url"),
        ({"return_url": None}, "parameter_missing", "return_url"),
    ],
)
async def test_wrong_links_are_refused(sandbox, client, changes, code, param):
    account = await _open(client)
    urls = {"refresh_url": "https://shop.example/again", "return_url": "https://shop.example/back"}
    params = {"account": account.id, "type": "account_onboarding", **urls, **changes}

    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.account_links.create_async(
            params={name: value for name, value in params.items() if value is not None}
        )

    assert (caught.value.http_status, caught.value.code, caught.value.param) == (400, code, param)


async def test_account_can_be_changed(sandbox, client, seller):
    account = await seller()

    changed = await client.v1.accounts.update_async(
        account.id,
        params={
            "email": "new@example.com",
            "metadata": {"a": "1"},
            "business_profile": {"name": "A shop"},
            "capabilities": {"card_payments": {"requested": True}},
            "settings": {"payouts": {"schedule": {"interval": "manual"}}},
        },
    )

    assert (changed.email, changed.metadata["a"], changed.business_profile.name) == (
        "new@example.com",
        "1",
        "A shop",
    )
    assert changed.capabilities.to_dict() == {"transfers": "active", "card_payments": "active"}
    assert changed.settings.payouts.schedule.interval == "manual"


@pytest.mark.parametrize(
    "params",
    [
        {"type": "nonsense"},
        {"type": "express", "controller": {"losses": {"payments": "stripe"}}},
        {"controller": {"colour": "red"}},
        {"capabilities": "transfers"},
        {"settings": {"payouts": {"schedule": {"interval": "hourly"}}}},
        {"default_currency": "xyz"},
        {"colour": "red"},
    ],
)
async def test_senseless_accounts_are_refused(sandbox, client, params):
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.accounts.create_async(params=params)

    assert caught.value.http_status == 400
    assert (await sandbox.state())["accounts"] == []


@pytest.mark.parametrize("body", [{"payouts_enabled": 1}, {"transfers": "perhaps"}, {"colour": "red"}, []])
async def test_senseless_facts_about_accounts_are_refused(sandbox, client, body):
    account = await _open(client)

    status, _ = await sandbox.call("POST", f"/_sandbox/accounts/{account.id}", json=body)

    assert status == 422
    assert (await sandbox.call("POST", "/_sandbox/accounts/acct_absent", json={}))[0] == 404


async def test_stranger_account_gives_no_access(sandbox, client):
    with pytest.raises(stripe.PermissionError) as caught:
        await client.v1.balance.retrieve_async(options={"stripe_account": "acct_absent"})

    assert (caught.value.http_status, caught.value.error.code) == (403, "account_invalid")


async def test_connected_account_is_not_charged_directly(sandbox, client, seller):
    account = await seller()

    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.payment_intents.create_async(
            params={"amount": 500, "currency": "usd"}, options={"stripe_account": account.id}
        )
