-- @require submission, fair_queue, start_tags, free_workers, choice, allocate, worker_capacity
-- The fast path of the script submit: a fresh request that finds a free worker and an empty queue is granted without being
-- queued first. Returns the answer and, if it is a grant, the same as JSON. Returns nil when the request has to be queued.
local function grant_immediately()
  if anyone_waits() or count_free() == 0 or tonumber(ARG.give_up_after_ms) <= 0 or tonumber(ARG.max_queued) == 0 then
    return nil
  end
  local refused = not at_head and refused_by_limit()
  if refused then
    return refused
  end
  local request = request_with_tag(HEAD)
  local worker_id, _, cached = choose_by_side(request)
  if not worker_id then
    return nil
  end
  if not at_head then
    charge(limits)
    request.tag = start_tag(rank, tenant, cost, weight)
  end
  request.worker, request.granted, request.cached = worker_id, now, cached
  store_request(place_in_line(request_id), now + ARG.give_up_after_ms, 'worker', worker_id, 'expected_cached', cached)
  if SETTING.overtaking > 0 then
    redis.call('HDEL', KEY.fair_queue, 'overtaken' .. rank)
  end
  allocate(request_id, rank, worker_id, cost)
  note_grant(request, worker_id, cached)
  refresh_free(worker_id)
  take_turn(rank, request.tag, true)
  local event = grant_event(request)
  return event, emit(event)
end
