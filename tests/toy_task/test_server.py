"""The same task, loaded and served by an app that takes it."""

import asyncio

import httpx
import torch

from models.bundle import Bundle
from server.app import create_app
from server.settings import Settings
from tests.toy_task.export import Tagger
from tests.toy_task.server import TOY

TEXTS = ["a", "to be, or not to be.", "the quick brown fox" * 3]


def test_it_is_loaded_and_served_and_answers_as_pytorch_does(bundle: Bundle) -> None:
    torch.manual_seed(0)
    module = Tagger().eval()
    expected = []
    for text in TEXTS:
        ids = bundle.tokenizer.encode(text)
        with torch.inference_mode():
            logits = module(torch.tensor([ids]), torch.tensor([len(ids)]))
        expected.append([bundle.record.labels[i] for i in logits[0].argmax(dim=1).tolist()])  # type: ignore[index]
    app = create_app(Settings(store=bundle.path.parent.parent), tasks=[TOY])

    async def main() -> None:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            while (await client.get("/readyz")).status_code != 200:
                assert app.state.service.phase != "failed", app.state.service.failure
                await asyncio.sleep(0.01)
            answers = await asyncio.gather(*(client.post("/v1/toy", json={"text": text}) for text in TEXTS * 20))
            assert [answer.status_code for answer in answers] == [200] * len(answers)
            assert [answer.json()["labels"] for answer in answers] == expected * 20
            (card,) = (await client.get("/v1/models")).json()["data"]
            assert (card["task"], card["labels"]) == ("toy-tagging", ["O", "B", "I"])
            assert (await client.post("/v1/toy", json={"text": "a", "speed": 1})).status_code == 422
            assert "/v1/toy" in (await client.get("/docs")).text
            assert 'rnnserve_requests_total{model="tagger/1",status="200"} 60.0' in (await client.get("/metrics")).text

    asyncio.run(main())
