// The shared worker: one stream for all pages of this registry in this browser.
"use strict";

importScripts(`live-stream.js${self.location.search}`);

const stream = new LiveStream(new URL("..", self.location).pathname.replace(/\/$/, ""));
// A page that was killed says no goodbye; a living one is heard at least once a minute, also in the background.
const SILENT_MS = 200000;
const pages = new Map();

self.onconnect = (event) => {
  const port = event.ports[0];
  const follower = { deliver: (message) => port.postMessage(message) };
  pages.set(follower, Date.now());
  port.onmessage = ({ data }) => {
    pages.set(follower, Date.now());
    if (data.topic) stream.follow(follower, data.topic, data.since);
    else if (data.leave) stream.leave(follower);
  };
};

setInterval(() => {
  for (const [follower, heard] of pages) {
    if (Date.now() - heard < SILENT_MS) continue;
    pages.delete(follower);
    stream.leave(follower);
  }
}, SILENT_MS / 4);
