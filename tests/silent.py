"""A watcher of training that says nothing."""


class Silent:
    def __init__(self, name):
        pass

    def __call__(self, done, total, trained, seconds):
        pass

    def say(self, text):
        pass

    def finish(self, fill):
        pass
