/** The health check of the container image: exits with 0 if the gateway responds on the address that HOST and PORT name. */
import { request } from "node:http";

// An empty variable counts as unset, as for the gateway.
const HOST = process.env.HOST?.trim() || "localhost";
const PORT = process.env.PORT?.trim() || "3420";
/** A gateway that listens on all addresses also listens on loopback. */
const ALL_ADDRESSES = { "0.0.0.0": "127.0.0.1", "::": "::1" };
const host = ALL_ADDRESSES[HOST] ?? HOST;

const check = request({ host, port: PORT, path: "/health", timeout: 2_500 }, (response) => {
  process.exit(response.statusCode === 200 ? 0 : 1);
});
check.on("timeout", () => check.destroy(new Error("no response within 2.5 s")));
check.on("error", ({ message }) => {
  process.stderr.write(`${message}\n`);
  process.exit(1);
});
check.end();
