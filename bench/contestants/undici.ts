/** The lower bound: relays headers and bytes with undici's dispatch and back-pressure, and nothing else. */
import { Pool } from "undici";
import { announce, createHttpServer, originCa, originUrl } from "../announce.ts";

const HOP_BY_HOP = new Set(
  "connection keep-alive proxy-connection te trailer transfer-encoding upgrade host expect".split(" "),
);
const pool = new Pool(originUrl(), { connect: { ca: originCa() } });

function endToEnd<T>(headers: Record<string, T>): Record<string, T> {
  const kept: Record<string, T> = {};
  for (const name in headers) if (!HOP_BY_HOP.has(name)) kept[name] = headers[name] as T;
  return kept;
}

const server = createHttpServer((req, res) => {
  const hasBody = req.headers["content-length"] !== undefined || req.headers["transfer-encoding"] !== undefined;
  const [path, method] = [req.url ?? "/", req.method ?? "GET"];
  pool.dispatch(
    { path, method, headers: endToEnd(req.headers), body: hasBody ? req : null },
    {
      onRequestStart() {},
      onResponseStart(_controller, status, headers) {
        if (status < 200) return;
        res.writeHead(status, endToEnd(headers));
      },
      onResponseData(controller, chunk) {
        if (res.write(chunk)) return;
        controller.pause();
        res.once("drain", () => controller.resume());
      },
      onResponseEnd: () => void res.end(),
      onResponseError: () => void (res.headersSent ? res.destroy() : res.writeHead(502).end()),
    },
  );
});
announce(server);
