/** All workloads, in the order of the page. */
import { cached } from "./cached.ts";
import { get } from "./get.ts";
import { httpsGet } from "./https-get.ts";
import { post } from "./post.ts";
import { scrub } from "./scrub.ts";
import { sse } from "./sse.ts";
import { tls } from "./tls.ts";
import { websocket } from "./websocket.ts";
import type { Workload } from "./workload.ts";

export const workloads: readonly Workload[] = [get, httpsGet, tls, post, sse, websocket, scrub, cached];
