/** The connections to one upstream. */
export interface PoolState {
  /** Those that are being made included. */
  readonly open: number;
  /** Of these, without a request. */
  readonly idle: number;
  /** Of these, with one. */
  readonly busy: number;
  /** `maxConnections`. */
  readonly limit: number;
  /** Requests that wait for one. */
  readonly pending: number;
  /** `maxPending`. */
  readonly pendingLimit: number;
}
