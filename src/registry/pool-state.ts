/** The connections to one upstream. */
export interface PoolState {
  readonly open: number;
  /** Of these, without a request. */
  readonly idle: number;
  /** Requests under way on them. */
  readonly running: number;
  /** Requests that wait for one. */
  readonly queued: number;
}
