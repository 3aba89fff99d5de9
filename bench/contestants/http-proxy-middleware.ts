/** http-proxy-middleware on a bare server, with a keep-alive agent like that of http-proxy-3. */
import { Agent, createServer } from "node:http";
import { createProxyMiddleware } from "http-proxy-middleware";
import { announce, originUrl } from "../announce.ts";

const proxy = createProxyMiddleware({
  target: originUrl(),
  changeOrigin: true,
  agent: new Agent({ keepAlive: true, maxSockets: 1024, maxFreeSockets: 1024 }),
});
announce(createServer((req, res) => void proxy(req, res)));
