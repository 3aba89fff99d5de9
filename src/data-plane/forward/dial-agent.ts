/** A `dial` in the form that node:http wants. */
import { Agent } from "node:http";
import type { Socket } from "node:net";
import type { Dial, DialTarget } from "./egress.ts";

/** For one request. @param origin `https://api.example.com` */
export function createDialAgent(dial: Dial, origin: string, onSocket?: DialTarget["onSocket"]): Agent {
  const { protocol, hostname, host, port } = new URL(origin);
  const agent = new Agent();
  agent.createConnection = (_, onConnected) => {
    const target = { protocol, hostname, host, port, ...(onSocket === undefined ? {} : { onSocket }) };
    dial(target, (error, socket) => onConnected?.(error, socket as Socket));
    return undefined;
  };
  return agent;
}
