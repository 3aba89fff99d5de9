/** The health check of the container image: exits with 0 if the gateway responds on the address that HOST and PORT name. */
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";

// An empty variable counts as unset, as for the gateway.
const variable = (name) => process.env[name]?.trim();
const HOST = variable("HOST") || "localhost";
const PORT = variable("PORT") || "3420";
/** A gateway that listens on all addresses also listens on loopback. */
const ALL_ADDRESSES = { "0.0.0.0": "127.0.0.1", "::": "::1" };
const host = ALL_ADDRESSES[HOST] ?? HOST;
/** Sent by a gateway with TLS_CLIENT_CA_FILE, which is alive: RFC 8446 section 6.2. */
const NEEDS_CERTIFICATE = "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED";

// The certificate is for another name than that of a loopback address, and this request holds no secret.
const options = { host, port: PORT, path: "/health", timeout: 2_500, rejectUnauthorized: false };
const request = variable("TLS_CERT_FILE") ? requestHttps : requestHttp;
const check = request(options, (response) => {
  process.exit(response.statusCode === 200 ? 0 : 1);
});
check.on("timeout", () => check.destroy(new Error("no response within 2.5 s")));
check.on("error", ({ code, message }) => {
  if (code === NEEDS_CERTIFICATE) process.exit(0);
  process.stderr.write(`${message}\n`);
  process.exit(1);
});
check.end();
