"""The layers of the report model: encoder, finding queries, projectors, decoders."""
