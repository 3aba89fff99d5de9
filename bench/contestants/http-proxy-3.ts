/** http-proxy-3 with a keep-alive agent only: without one it opens a connection per request. */
import { Agent, createServer, ServerResponse } from "node:http";
import httpProxy from "http-proxy-3";
import { announce, originUrl } from "../announce.ts";

const proxy = httpProxy.createProxyServer({
  target: originUrl(),
  changeOrigin: true,
  agent: new Agent({ keepAlive: true, maxSockets: 1024, maxFreeSockets: 1024 }),
});
proxy.on("error", (_error, _req, res) => {
  if (res instanceof ServerResponse && !res.headersSent) res.writeHead(502).end();
  else res.destroy();
});
announce(createServer((req, res) => proxy.web(req, res)));
