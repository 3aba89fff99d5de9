/** http-proxy-3 with a keep-alive agent only: without one it opens a connection per request. */
import { Agent, createServer, ServerResponse } from "node:http";
import { Agent as SecureAgent } from "node:https";
import httpProxy from "http-proxy-3";
import { announce, originCa, originUrl } from "../announce.ts";

const ca = originCa();
const connections = { keepAlive: true, maxSockets: 1024, maxFreeSockets: 1024 };
const proxy = httpProxy.createProxyServer({
  target: originUrl(),
  changeOrigin: true,
  agent: ca === undefined ? new Agent(connections) : new SecureAgent({ ...connections, ca }),
});
proxy.on("error", (_error, _req, res) => {
  if (res instanceof ServerResponse && !res.headersSent) res.writeHead(502).end();
  else res.destroy();
});
const server = createServer((req, res) => proxy.web(req, res));
server.on("upgrade", (req, socket, head) => proxy.ws(req, socket, head));
announce(server);
