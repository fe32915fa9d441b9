// One stream of events for all that follow topics in this browser, shared by its pages through live-worker.js.
//
// A browser opens six connections to a server at a time, and a stream holds one for as long as a page is open. So ten
// pages share one: when a page comes or goes, the stream is opened again for the topics that are followed now, from the
// position that was reached. The server gives what was missed in between.
"use strict";

class LiveStream {
  static REOPEN_MS = 20;
  static RETRY_MS = 3000;

  constructor(base) {
    this.base = base;
    this.followers = new Map();
    this.source = null;
    this.timer = 0;
    this.state = "connecting";
  }

  // `follower` is an object with `deliver(message)`; the same one may follow another topic later.
  follow(follower, topic, since) {
    this.followers.set(follower, { topic, since });
    this.reopenSoon();
  }

  leave(follower) {
    if (this.followers.delete(follower)) this.reopenSoon();
  }

  reopenSoon(delay = LiveStream.REOPEN_MS) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.reopen(), delay);
  }

  reopen() {
    this.close();
    if (!this.followers.size) return;
    const topics = [...new Set([...this.followers.values()].map((one) => one.topic))];
    const query = new URLSearchParams(topics.map((topic) => ["topic", topic]));
    query.append("since", this.oldest());
    const source = new EventSource(`${this.base}/live?${query}`);
    this.source = source;
    this.setState("connecting");
    source.onopen = () => this.setState("live");
    source.onerror = () => this.failed(source);
    source.addEventListener("reload", () => this.reload());
    topics.forEach((topic, number) => {
      source.addEventListener(`t${number}`, (event) => this.deliver(topic, event));
    });
  }

  // The position of the page that has seen least. Positions are EPOCH.REVISION; the server finds out whether two of
  // different epochs mean that the registry was made anew.
  oldest() {
    const positions = [...this.followers.values()].map((one) => one.since);
    const revision = (position) => Number(position.split(".")[1]);
    return positions.reduce((least, one) => (revision(one) < revision(least) ? one : least));
  }

  deliver(topic, event) {
    const message = JSON.parse(event.data);
    for (const [follower, one] of this.followers) {
      one.since = event.lastEventId;
      if (one.topic === topic) follower.deliver({ ...message, since: event.lastEventId });
    }
  }

  // Changes were missed: each page reads itself again, and then follows from there.
  reload() {
    const followers = [...this.followers.keys()];
    this.followers.clear();
    this.close();
    followers.forEach((follower) => follower.deliver({ reload: true }));
  }

  failed(source) {
    this.setState("reconnecting");
    // The browser itself tries again, unless the server has answered with an error.
    if (source.readyState === EventSource.CLOSED && source === this.source) this.reopenSoon(LiveStream.RETRY_MS);
  }

  setState(state) {
    this.state = state;
    for (const follower of this.followers.keys()) follower.deliver({ state });
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }
}
