"""Two people who must not notice what others do."""

import threading

from client import Account, Socket, poll


class Bystanders:
    """Two people on two gateways who answer each other until they are told to stop."""

    def __init__(self, urls):
        self.people = [Account(urls[0], "bystander"), Account(urls[1], "bystander")]
        self.urls = urls
        self.rounds = 0
        self.failure = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.chat, daemon=True)
        self.thread.start()

    def chat(self):
        try:
            with Socket(self.urls[0], self.people[0]) as one, Socket(self.urls[1], self.people[1]) as two:
                conv = self.people[0].conv(self.people[1])
                seq = 0
                while not self.stopping.wait(0.05):
                    for speaker, listener, hearer in ((one, two, 1), (two, one, 0)):
                        seq += 1
                        sent = speaker.message("still here", to=self.people[hearer].id)
                        heard = listener.wait(op="event", mid=sent["mid"])
                        assert (sent["seq"], heard["conv"], heard["seq"]) == (seq, conv, seq)
                    for person in (one, two):
                        assert not [f for f in person.backlog if f["op"] == "error"]
                        person.backlog.clear()
                    self.rounds += 1
        except Exception as failure:  # told by the test that runs
            self.failure = failure

    def check(self):
        before = self.rounds
        poll(lambda: self.failure or self.rounds > before)
        assert self.failure is None, f"bystanders noticed: {self.failure!r}"
