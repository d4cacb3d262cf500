"""Whatever is asked, and whatever a product says, is an answer."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from db.unit_of_work import Database
from domain.catalog.query import Language, ProductQuery, Sort
from domain.catalog.search import SearchService
from tests.builders import Shop, a_product

# It prefers what means something to PostgreSQL.
any_text = st.one_of(
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=200),
    st.text("'\"\\:*&|!<->()$%;_-. \t\n\x01\x02\x03\x7f\u202elampor", max_size=200),
    st.builds(
        lambda text, count: (text * count)[:200], st.text("-\"'(!& a_:", min_size=1, max_size=4), st.just(200)
    ),
    st.lists(st.sampled_from(["lamp", "-", "or", "and", '"', "'", "\\", ":*", "<->", "!", "((", "%s", "🦄"])).map(
        lambda parts: " ".join(parts)[:200]
    ),
)


@settings(max_examples=200)
@given(q=any_text, language=st.sampled_from(Language), category=any_text, sort=st.sampled_from(Sort))
async def test_no_text_is_too_odd_to_look_for(
    database: Database, q: str, language: Language, category: str, sort: Sort
) -> None:
    search = SearchService(database.each)
    query = ProductQuery(q=q.strip() or None, language=language, category=category[:100], sort=sort)

    found = await search.search(query, None, limit=2)
    if found.next is not None:
        await search.search(query, found.next, limit=2)
    await search.search(replace(query, category=None), None, limit=2)


@settings(max_examples=50)
@given(one=any_text, other=any_text)
async def test_what_a_product_says_is_found_whatever_it_is(database: Database, one: str, other: str) -> None:
    shop = await Shop(database.begin).open()
    product = a_product(shop.seller.id, title=f"Lamp {one}"[:200], description=other, category=one[:100])
    async with database.begin() as tx:
        await tx.products.add(replace(product, attributes={"a": other, "b": [one, 1]}))
        await tx.commit()

    for query in (
        ProductQuery(q="lamp", seller_id=shop.seller.id, category=one[:100]),
        ProductQuery(seller_id=shop.seller.id, category=one[:100]),
    ):
        found = await SearchService(database.each).search(query, None, limit=5)
        assert product.id in [hit.product.id for hit in found.hits]
