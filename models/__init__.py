"""The Qwen3-ASR family: tensors and tokens; no sessions, VAD, sockets or wall time."""
