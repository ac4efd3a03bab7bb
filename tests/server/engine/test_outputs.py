import asyncio
import threading

import pytest

from server.engine.outputs import OutputQueue, OutputSender
from server.errors import ClientGoneError, EngineError


def test_outputs_come_in_order_whatever_the_thread_and_the_loop_do() -> None:
    async def main() -> None:
        sender = OutputSender(asyncio.get_running_loop())
        queue: OutputQueue[int] = OutputQueue()

        def send() -> None:
            for number in range(5000):
                sender.post(queue, number)
                sender.flush()

        thread = threading.Thread(target=send)
        thread.start()
        found: list[int] = []
        while len(found) < 5000:
            found += await asyncio.wait_for(queue.get(), 30)
        thread.join()
        assert found == list(range(5000))

    asyncio.run(main())


def test_of_several_errors_the_first_counts_and_it_comes_before_outputs() -> None:
    async def main() -> None:
        queue: OutputQueue[int] = OutputQueue()
        queue.put(1)
        queue.put(EngineError("first"))
        queue.put(ClientGoneError("second"))
        for _ in range(2):
            with pytest.raises(EngineError, match="first"):
                await queue.get()

    asyncio.run(main())


def test_sending_to_a_loop_that_is_closed_is_no_error() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    sender = OutputSender(loop)
    sender.post(OutputQueue(), 1)
    sender.flush()
