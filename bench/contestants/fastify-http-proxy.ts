/** @fastify/http-proxy as in its README, without a logger. */
import fastifyHttpProxy from "@fastify/http-proxy";
import { fastify } from "fastify";
import { announce, originUrl } from "../announce.ts";

const app = fastify({ logger: false });
await app.register(fastifyHttpProxy, { upstream: originUrl() });
await app.ready();
announce(app.server);
