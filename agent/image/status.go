package image

// Phase is what is being done for a layer.
type Phase string

// Phases of a layer, in docker's words.
const (
	Waiting     Phase = "Waiting"
	Downloading Phase = "Downloading" // or reading it from an archive: unpacked as it comes
	Retrying    Phase = "Retrying"
	Complete    Phase = "Pull complete"
	Exists      Phase = "Already exists"
)

// Status says how far a layer is.
type Status struct {
	Layer       Digest // of its blob, or its diffID where that is all that is known
	Phase       Phase
	Done, Total int64 // bytes of the blob
}
