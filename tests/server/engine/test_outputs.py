import asyncio
import threading

import pytest

from server.engine.request import OutputQueue, OutputSender
from server.errors import ClientGoneError, EngineError


def test_each_threads_outputs_come_in_order() -> None:
    async def main() -> None:
        sender = OutputSender(asyncio.get_running_loop())
        queue: OutputQueue[tuple[int, int]] = OutputQueue()

        def send(thread: int) -> None:
            for number in range(2000):
                sender.post(queue, (thread, number))
                sender.flush()

        threads = [threading.Thread(target=send, args=[i]) for i in range(3)]
        for thread in threads:
            thread.start()
        found: list[tuple[int, int]] = []
        while len(found) < 6000:
            found += await asyncio.wait_for(queue.get(), 30)
        for i, thread in enumerate(threads):
            thread.join()
            assert [number for sender_of, number in found if sender_of == i] == list(range(2000))

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
